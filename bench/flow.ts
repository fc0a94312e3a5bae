/** Makes the nodes of a flow on one tab. */
export const nodesOn =
  (tab: string) =>
  (id: string, type: string, wires: string[][], more: object): object => ({
    id,
    type,
    z: tab,
    x: 200,
    y: 100,
    wires,
    ...more
  });
