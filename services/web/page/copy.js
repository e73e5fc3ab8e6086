// Text onto the clipboard, and a word that it worked.

import { announce } from "./announce.js";

const SHOWN_MS = 2000;

export async function copyText(text, button) {
  const copied = await intoClipboard(text);
  const before = button.dataset.label ?? button.textContent;
  button.dataset.label = before;
  button.textContent = copied ? "Copied" : "Not copied: select it";
  announce(copied ? "Copied" : "The browser does not allow copying; select the text and copy it yourself");
  setTimeout(() => (button.textContent = before), SHOWN_MS);
}

/** Over plain http from another machine there is no clipboard for pages, only the old command. */
async function intoClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return byCommand(text);
  }
}

function byCommand(text) {
  const field = document.createElement("textarea");
  field.className = "off-screen";
  field.value = text;
  const focused = document.activeElement;
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  focused?.focus();
  return copied;
}
