// One picture on the page, and its label: what is known of it so far.

import { copyText } from "./copy.js";
import { inWords } from "./errors.js";

const template = document.getElementById("card");
let made = 0;

export class Card {
  /** picture: {blob, name} or {url}; asked: the question or beginning that went along, or "". */
  constructor(picture, asked) {
    this.element = template.content.firstElementChild.cloneNode(true);
    this.headline = this.find("h3");
    this.text = "";
    if (picture.blob) this.showPicture(picture);
    else this.showElsewhere(picture.url);
    this.put(".asked", asked);
    this.find(".copy").addEventListener("click", ({ target }) => copyText(this.text, target));
    this.tellApart();
  }

  /** The buttons of all cards have the same names: each is described by what its picture is called. */
  tellApart() {
    const source = this.find(".source");
    source.id = `source-${(made += 1)}`;
    for (const button of this.element.querySelectorAll("button")) button.setAttribute("aria-describedby", source.id);
  }

  find(selector) {
    return this.element.querySelector(selector);
  }

  /** Fills a part, or hides it where there is nothing to say. */
  put(selector, text) {
    const part = this.find(selector);
    part.textContent = text;
    part.hidden = !text;
  }

  on(selector, action) {
    this.find(selector).addEventListener("click", action);
  }

  showPicture({ blob, name }) {
    const image = this.find("img");
    image.addEventListener("error", () => this.showNothing(), { once: true }); // no picture, or of another kind
    image.src = URL.createObjectURL(blob);
    this.put(".source", name);
  }

  showNothing() {
    this.find("img").hidden = true;
    this.find(".blank").removeAttribute("hidden"); // an SVG element has no such property
  }

  /** Nothing of other hosts is loaded into this page; the service fetches the picture itself. */
  showElsewhere(address) {
    const { host } = new URL(address);
    this.find("img").hidden = true;
    this.find(".elsewhere").hidden = false;
    this.put(".host", host);
    this.find("a").href = address;
    this.put(".source", address);
  }

  showWaiting() {
    this.show("waiting", "Waiting its turn");
    this.find(".problem").hidden = true;
  }

  showWorking(words) {
    this.show("working", words);
  }

  /** answer: the service's, a success. */
  showAnswer({ predictions: [{ text, emoji_mappings: pairs, confidence }], metadata }) {
    this.text = text.charAt(0).toUpperCase() + text.slice(1);
    this.show("done", "");
    this.headline.replaceChildren(...marked(this.text, pairs.map(({ word }) => word)));
    this.find(".emojis").replaceChildren(...pairs.map(chip));
    this.showFacts(confidence, metadata);
  }

  showFacts(confidence, { processing_time: seconds, model_info: { model, device, precision } }) {
    this.find(".facts").hidden = false;
    this.find(".confidence").hidden = confidence === null;
    if (confidence !== null) {
      this.find(".confidence span").textContent = `${Math.floor(confidence * 100)} %`;
      this.find(".share").setAttribute("stroke-dasharray", `${confidence * 100} 100`);
    }
    this.put(".time", seconds < 10 ? `${seconds.toFixed(2)} s` : `${seconds.toFixed(0)} s`);
    this.put(".by", `${model}, ${device}, ${precision}`);
  }

  showProblem(problem) {
    const { what, cure, said } = inWords(problem);
    this.show("failed", what);
    this.find(".problem").hidden = false;
    this.put(".cure", cure);
    this.put(".said", said && `The service says: ${said}`);
  }

  show(state, headline) {
    this.element.dataset.state = state;
    this.headline.textContent = headline;
    this.find(".copy").hidden = state !== "done";
    this.find(".again").hidden = state !== "failed";
  }

  remove() {
    URL.revokeObjectURL(this.find("img").src);
    this.element.remove();
  }
}

/** The caption, with the words that have emojis marked. A word's parts are joined by _ and may stand apart in it. */
function marked(text, words) {
  const forms = words.map((word) => word.split("_").map(escaped).join("[\\s_-]+"));
  forms.sort((a, b) => b.length - a.length);
  if (!forms.length) return [text];
  // what stands before a word is taken and given back: older browsers cannot look behind
  const pattern = new RegExp(`(^|[^\\p{L}\\p{N}])(${forms.join("|")})(?![\\p{L}\\p{N}])`, "iu");
  return text.split(pattern).map((part, n) => (n % 3 === 2 ? element("span", "named", part) : part));
}

function escaped(text) {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
}

function chip({ emoji, word }) {
  const item = element("li", "", "");
  const sign = element("span", "emoji", emoji);
  sign.setAttribute("aria-hidden", "true"); // its word follows
  item.append(sign, element("span", "word", word.replaceAll("_", " ")));
  return item;
}

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}
