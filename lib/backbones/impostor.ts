/** What servers and people give in place of a network; told from its first bytes, so that the error says what went wrong. */

const LFS = 'version https://git-lfs.github.com/spec/';

/** How many bytes are enough to tell. */
export const HEAD_BYTES = 256;

/** What the first bytes of a file show it to be, where that is surely no ONNX model. */
export function impostor(head: Uint8Array): string | undefined {
  const text = Buffer.from(head.subarray(0, HEAD_BYTES)).toString('latin1');
  if (text.startsWith(LFS))
    return 'a pointer of Git LFS, which stands for the file and is not it: fetch the file itself ("git lfs pull", or the download button of the page)';
  // a byte order mark, blanks and comments may come first
  if (/^(?:\xef\xbb\xbf)?\s*(?:<!--[\s\S]*?-->\s*)*<(?:!doctype html|html|head|body|\?xml)/i.test(text))
    return 'a web page (a login, an error or a block page, perhaps of your proxy)';
  if (/^\s*\{\s*"/.test(text)) return 'a JSON text, perhaps an error message';
  return undefined;
}
