// The ways in: chosen, dropped, pasted, or named by an address. Each ends in `add([{blob, name} or {url}])`.

const files = document.getElementById("files");
const url = document.getElementById("url");
const urlProblem = document.getElementById("url-problem");
const veil = document.getElementById("veil");

export function listenForPictures(add) {
  files.addEventListener("change", () => {
    add(ofFiles(files.files));
    files.value = ""; // or the same file could not be chosen twice
  });
  document.getElementById("by-url").addEventListener("submit", (event) => {
    event.preventDefault();
    addTyped(add);
  });
  document.addEventListener("paste", (event) => onPaste(event, add));
  listenForDrops(add);
}

function addTyped(add) {
  const address = webAddress(url.value);
  urlProblem.textContent = address ? "" : "Give the address of a picture; it begins with https:// or http://.";
  url.setAttribute("aria-invalid", String(!address));
  if (!address) {
    url.focus();
    return;
  }
  add([{ url: address }]);
  url.value = "";
}

function onPaste(event, add) {
  const pasted = ofFiles(event.clipboardData.files);
  if (pasted.length) {
    event.preventDefault();
    add(pasted);
    return;
  }
  if (event.target.closest?.("input, textarea, dialog")) return; // text, for that field
  const address = webAddress(event.clipboardData.getData("text/plain"));
  if (address) add([{ url: address }]);
}

function listenForDrops(add) {
  let over = null; // the element that was entered last: the next is entered before it is left
  const carries = (event) => ["Files", "text/uri-list"].some((type) => event.dataTransfer.types.includes(type));
  const accept = (event) => {
    if (carries(event)) event.preventDefault();
  };
  addEventListener("dragover", accept);
  addEventListener("dragenter", (event) => {
    accept(event); // or a drop is refused where the page moved under the pointer since
    over = event.target;
    veil.hidden = !carries(event);
  });
  addEventListener("dragleave", (event) => {
    if (event.target === over) veil.hidden = true;
  });
  addEventListener("drop", (event) => {
    veil.hidden = true;
    if (!carries(event)) return;
    event.preventDefault();
    const dropped = ofFiles(event.dataTransfer.files);
    const address = webAddress(event.dataTransfer.getData("text/uri-list").split("\n")[0]);
    if (dropped.length) add(dropped);
    else if (address) add([{ url: address }]);
  });
}

function ofFiles(list) {
  return Array.from(list, (file) => ({ blob: file, name: file.name }));
}

/** The http(s) address that a text is; "" when it is none. */
function webAddress(text) {
  try {
    const { protocol, href } = new URL(text.trim());
    return protocol === "https:" || protocol === "http:" ? href : "";
  } catch {
    return "";
  }
}
