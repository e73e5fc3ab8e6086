// What one may ask of the model: only what it can do is offered.

const ANSWERING = ["blip2_opt", "blip2_t5", "blip_vqa"];

const fields = { model: find("model"), prompt: find("prompt"), question: find("question") };

let served = null; // the /health that was seen last

/** The fields that fit the models that are served. */
export function offerWishes(health) {
  if (health.model_status === "unreachable") return;
  served = health;
  offerModels(Object.keys(health.models ?? {}));
  offerTexts();
}

/** {model, prompt, question}; "" for what is not asked for. */
export function readWishes() {
  const asked = (name) => (find(`wish-${name}`).hidden ? "" : fields[name].value.trim());
  const question = asked("question");
  return { model: asked("model"), question, prompt: question ? "" : asked("prompt") };
}

function offerModels(names) {
  find("wish-model").hidden = names.length < 2;
  const now = Array.from(fields.model.options, (option) => option.value);
  if (names.join() === now.join()) return;
  const chosen = fields.model.value || served.model;
  fields.model.replaceChildren(...names.map((name) => new Option(name, name, false, name === chosen)));
}

/**
 * Which architecture answers is told by the model's name. Of the others, those that LAVIS runs take no prompt, and
 * /health tells the engine of the default model alone; blip_vqa takes a question only.
 */
function offerTexts() {
  const name = find("wish-model").hidden ? served.model : fields.model.value;
  const answers = ANSWERING.includes(name.split("/")[0]);
  find("wish-question").hidden = !answers;
  find("wish-prompt").hidden = name.startsWith("blip_vqa") || (served.engine === "lavis" && !answers);
  find("wishes").hidden = Array.from(find("wishes").children).every((part) => part.hidden);
  onlyOneText();
}

function onlyOneText() {
  fields.prompt.disabled = !find("wish-question").hidden && fields.question.value.trim() !== "";
}

function find(id) {
  return document.getElementById(id);
}

fields.model.addEventListener("change", offerTexts);
fields.question.addEventListener("input", onlyOneText);
