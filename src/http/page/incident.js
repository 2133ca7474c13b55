/* The view of one incident. */

import { element } from "./dom.js";

export function show(root, { incident, setTitle }) {
  setTitle("Incident");
  root.append(element("h1", {}, `Incident ${incident}`));
}
