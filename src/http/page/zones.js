/* The view Zones. */

import { element } from "./dom.js";

export function show(root, { camera, setTitle }) {
  setTitle("Zones");
  root.append(element("h1", {}, camera === null ? "Zones" : `Zones of ${camera}`));
}
