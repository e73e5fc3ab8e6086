// The pictures to try.

import { readExample, readExamples } from "./api.js";
import { watchModel } from "./model.js";

/** Fills the row of examples; a click on one ends in `add([picture])`. Without examples there is no row. */
export async function offerExamples(add) {
  const examples = await readExamples();
  const items = examples.map(({ file, caption }) => {
    const image = document.createElement("img");
    image.src = `examples/${encodeURIComponent(file)}`;
    image.alt = `Example: ${caption}`;
    image.loading = "lazy";
    const button = document.createElement("button");
    button.type = "button";
    button.append(image);
    button.addEventListener("click", () => {
      readExample(file).then((blob) => add([{ blob, name: file }]), watchModel); // which says what is wrong
    });
    const item = document.createElement("li");
    item.append(button);
    return item;
  });
  document.getElementById("example-list").replaceChildren(...items);
  document.getElementById("examples").hidden = !items.length;
}
