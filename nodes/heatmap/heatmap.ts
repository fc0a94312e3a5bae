import type { Node, NodeAPI, NodeDef } from 'node-red';
import { Heatmaps } from '../../lib/red/heatmaps';
import type { OverlayOptions } from '../../lib/red/overlay/render';
import { numberOf, optionalNumber } from '../../lib/red/nodes';

type Choices = Pick<OverlayOptions, 'colormap' | 'contour' | 'boxes' | 'scaleBar' | 'scale' | 'format'>;

interface HeatmapConfig extends NodeDef, Choices {
  image: string;
  imageType: string;
  output: string;
  outputType: string;
  alpha: number | string;
  min: number | string;
  max: number | string;
  quality: number | string;
  as: 'buffer' | 'datauri';
  maxSide: number | string;
}

export = function register(RED: NodeAPI): void {
  function Heatmap(this: Node, config: HeatmapConfig): void {
    RED.nodes.createNode(this, config);
    const heatmaps = new Heatmaps(RED, this, {
      image: { value: config.image || 'image', type: config.imageType || 'msg' },
      output: { value: config.output || 'heatmap', type: config.outputType || 'msg' },
      colormap: config.colormap || 'turbo',
      alpha: Math.min(1, Math.max(0, optionalNumber(config.alpha) ?? 0.5)),
      contour: config.contour !== false,
      boxes: config.boxes !== false,
      scaleBar: config.scaleBar !== false,
      scale: config.scale || 'detector',
      min: optionalNumber(config.min),
      max: optionalNumber(config.max),
      format: config.format || 'jpeg',
      quality: Math.min(100, Math.max(1, numberOf(config.quality, 85))),
      as: config.as || 'buffer',
      maxSide: numberOf(config.maxSide, 0)
    });
    this.on('input', (msg, send, done) => heatmaps.input(msg, send, done));
    this.on('close', () => heatmaps.close());
  }
  RED.nodes.registerType('heatmap', Heatmap);
};
