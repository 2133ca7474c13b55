/* Keys of a view. */

const FIELDS = "input, select, textarea, [contenteditable]";

/** Keys of a video's own controls. */
const OF_VIDEO = new Set([" ", "ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"]);

/** Calls the handler of a key, except while the user types, holds a modifier, or has a dialog open. */
export function onKeys(handlers, signal) {
  document.addEventListener("keydown", (press) => {
    const handler = handlers[press.key];
    if (!handler || press.defaultPrevented || press.ctrlKey || press.altKey || press.metaKey) return;
    if (press.target.closest?.("video") && OF_VIDEO.has(press.key)) return;
    if (press.target.closest?.(FIELDS) || document.querySelector("dialog[open]")) return;
    if (handler(press) !== false) press.preventDefault();
  }, { signal });
}
