// The key, where the service asks for one: in this tab's session only, and in no address.

const NAME = "captions-key";
const dialog = document.getElementById("key-dialog");
const input = document.getElementById("key");
const problem = document.getElementById("key-problem");

let key = read();
let declined = false; // for the pictures at hand: a person who said no is not asked for each of them

export function currentKey() {
  return key;
}

/** From here on a person may be asked again. */
export function mayAskAgain() {
  declined = false;
}

/** Asks for a key; whether there is one now. tried: the one that was refused, "" for none. */
export async function askForKey(tried) {
  if (key !== tried) return true; // given meanwhile
  if (declined) return false;
  showProblem(tried ? "This key was not accepted. Check it, or ask for another." : "");
  input.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  if (dialog.returnValue !== "use") {
    declined = true;
    return false;
  }
  keep(input.value.trim());
  return true;
}

document.getElementById("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const sane = /^[\x21-\x7e]+$/.test(input.value.trim()); // what a header can carry
  showProblem(sane ? "" : "Type or paste the key: letters, digits and signs, without spaces.");
  if (sane) dialog.close("use");
  else input.focus();
});
document.getElementById("key-cancel").addEventListener("click", () => dialog.close(""));

const change = document.getElementById("key-change");
change.hidden = !key;
change.addEventListener("click", () => {
  mayAskAgain();
  askForKey(key);
  showProblem(""); // nobody has refused it
});

function showProblem(text) {
  problem.textContent = text;
  input.setAttribute("aria-invalid", String(text !== ""));
}

function keep(text) {
  key = text;
  change.hidden = false;
  try {
    sessionStorage.setItem(NAME, key);
  } catch {
    // a browser that keeps nothing for pages: the key lives as long as the page then
  }
}

function read() {
  try {
    return sessionStorage.getItem(NAME) ?? "";
  } catch {
    return "";
  }
}
