/* Copying to the clipboard. */

import { element, setText } from "./dom.js";

const SHOWN_MS = 2000;

/** A button that copies a text and says so. */
export function copyButton(words, textOf) {
  const status = element("span", { role: "status" }, words);
  const button = element("button", { type: "button", class: "button" }, status);
  let timer = null;
  button.addEventListener("click", async () => {
    const isCopied = await copied(textOf());
    setText(status, isCopied ? "Copied" : "Not copied");
    clearTimeout(timer);
    timer = setTimeout(() => setText(status, words), SHOWN_MS);
  });
  return button;
}

/** Copies a text. Browsers give the clipboard to pages by https or of localhost only; elsewhere a selection is copied. */
export async function copied(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text).then(() => true, () => copiedBySelection(text));
  return copiedBySelection(text);
}

function copiedBySelection(text) {
  const area = element("textarea", { class: "off-screen", readonly: true, "aria-hidden": "true" });
  area.value = text;
  document.body.append(area);
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  return isCopied;
}
