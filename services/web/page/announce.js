// What a screen reader should say beside what has the focus.

const announcer = document.getElementById("announcer");

export function announce(text) {
  announcer.textContent = text;
}
