/* The view Incidents. */

import { element } from "./dom.js";

export function show(root, { setTitle }) {
  setTitle("Incidents");
  root.append(element("h1", {}, "Incidents"));
}
