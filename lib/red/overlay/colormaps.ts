/**
 * Colormaps as 256 RGB entries. jet is a formula; turbo (Anton Mikhailov, Google, Apache-2.0), inferno and viridis
 * (Nathaniel Smith and Stefan van der Walt, CC0) are 17 evenly spaced stops of the published tables, interpolated
 * linearly: within 7 of 255 levels of the full tables everywhere.
 */
const stops = {
  turbo:
    '30123b 4040a2 466be3 4293ff 28bbec 18dcc3 31f299 6bfe64 a2fc3c cced34 edd03a fdad35 fb8022 ec520f d23105 ac1701 7a0403',
  inferno:
    '000004 0b0724 210c4a 3d0965 56106e 70196e 89226a a32c61 bb3654 d14545 e35932 f1721e f98c0a fcaa0f f9c932 f2e865 fcffa4',
  viridis:
    '440154 48186a 472d7b 424086 3b528b 33638d 2c728e 26828e 21908c 1f9f88 27ad81 3ebc74 5cc863 82d34d aadc32 d5e21a fde725'
};

export type ColormapName = 'jet' | keyof typeof stops;
export const colormapNames: readonly ColormapName[] = ['jet', 'turbo', 'inferno', 'viridis'];
export type Rgb = [red: number, green: number, blue: number];

const jet = (t: number): Rgb => {
  const ramp = (centre: number) => 255 * Math.min(1, Math.max(0, 1.5 - Math.abs(4 * t - centre)));
  return [ramp(3), ramp(2), ramp(1)];
};

function between(table: Rgb[], t: number): Rgb {
  const at = t * (table.length - 1);
  const low = Math.min(Math.floor(at), table.length - 2);
  return table[low].map((value, channel) => value + (table[low + 1][channel] - value) * (at - low)) as Rgb;
}

/** The colormap's 256 entries, 0..255 a channel, lowest value first. */
export function colormap(name: ColormapName): Rgb[] {
  const colours = (t: number): Rgb => (name === 'jet' ? jet(t) : between(tables[name], t));
  return Array.from({ length: 256 }, (_, i) => colours(i / 255).map(Math.round) as Rgb);
}

const hexToRgb = (hex: string): Rgb => [0, 2, 4].map(at => parseInt(hex.slice(at, at + 2), 16)) as Rgb;
const tables = Object.fromEntries(
  Object.entries(stops).map(([name, list]) => [name, list.split(' ').map(hexToRgb)])
) as Record<keyof typeof stops, Rgb[]>;
