/* Keys of a view. */

const FIELDS = "input, select, textarea, video, [contenteditable]";

/** Calls the handler of a key, except while the user types, holds a modifier, or has a dialog open. */
export function onKeys(handlers, signal) {
  document.addEventListener("keydown", (press) => {
    const handler = handlers[press.key];
    if (!handler || press.defaultPrevented || press.ctrlKey || press.altKey || press.metaKey) return;
    if (press.target.closest?.(FIELDS) || document.querySelector("dialog[open]")) return;
    if (handler(press) !== false) press.preventDefault();
  }, { signal });
}
