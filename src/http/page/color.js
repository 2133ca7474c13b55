/* As `color_of` in src/render: the page marks a label with the colour of its boxes. */

const PALETTE = [
  [230, 57, 70], [255, 183, 3], [6, 214, 160], [17, 138, 178], [255, 112, 166], [155, 93, 229], [144, 190, 109],
  [251, 133, 0],
];

export function colorOf(label) {
  let hash = 2_166_136_261;
  for (const byte of new TextEncoder().encode(label)) hash = Math.imul(hash ^ byte, 16_777_619) >>> 0;
  return `rgb(${PALETTE[(hash >>> 8) % PALETTE.length].join(", ")})`;
}
