// The page: pictures come in (inputs, examples), wait (queue), are captioned (api) and shown (card).

import { announce } from "./announce.js";
import { Card } from "./card.js";
import { offerExamples } from "./examples.js";
import { listenForPictures } from "./inputs.js";
import { mayAskAgain } from "./key.js";
import { onHealth, watchModel } from "./model.js";
import { drop, enqueue, stopAll } from "./queue.js";
import { offerWishes, readWishes } from "./wishes.js";

const list = document.getElementById("cards");
const results = document.getElementById("results");
const title = document.getElementById("results-title");
const bar = document.getElementById("run-bar");
const runText = document.getElementById("run-text");
const stop = document.getElementById("stop");
const clear = document.getElementById("clear");
const jobs = new Set();

function add(pictures) {
  if (!pictures.length) return;
  mayAskAgain();
  const wishes = readWishes();
  const fresh = pictures.map((picture) => makeJob(picture, wishes));
  list.prepend(...fresh.map((job) => job.card.element)); // the newest on top, in their order
  document.body.classList.add("at-work");
  results.hidden = false;
  if (fresh.length > 1) announce(`${fresh.length} pictures added`);
  enqueue(fresh, showRun);
}

function makeJob(picture, wishes) {
  const asked = wishes.question || (wishes.prompt && `${wishes.prompt}…`);
  const job = { picture, wishes, card: new Card(picture, asked) };
  jobs.add(job);
  job.card.on(".again", () => {
    mayAskAgain();
    job.card.element.focus(); // the button goes
    enqueue([job], showRun);
  });
  job.card.on(".remove", () => remove(job));
  return job;
}

function remove(job) {
  const next = job.card.element.nextElementSibling ?? job.card.element.previousElementSibling;
  drop(job, showRun);
  job.card.remove();
  jobs.delete(job);
  announce("Removed");
  if (next) next.querySelector(".remove").focus();
  else empty();
}

function empty() {
  results.hidden = true;
  document.body.classList.remove("at-work");
  document.getElementById("files").focus();
}

function showRun({ total, done, failed }, isRunning, job) {
  const ended = done + failed;
  const several = total > 1;
  bar.hidden = !(isRunning && several);
  bar.max = total;
  bar.value = ended;
  if (!isRunning && document.activeElement === stop) title.focus(); // the button goes
  stop.hidden = !isRunning;
  clear.hidden = isRunning;
  if (isRunning) runText.textContent = several ? `${ended} of ${total}` : "";
  else runText.textContent = several ? `${done} captioned${failed ? `, ${failed} not` : ""}` : "";
  if (job) announce(several ? `${ended} of ${total}: ${job.card.headline.textContent}` : job.card.headline.textContent);
}

stop.addEventListener("click", () => {
  stopAll();
  title.focus();
});
clear.addEventListener("click", () => {
  for (const job of jobs) job.card.remove();
  jobs.clear();
  announce("All removed");
  empty();
});

onHealth((health) => {
  offerWishes(health);
  if (health.model) document.getElementById("demo-note").hidden = health.model !== "demo";
});
listenForPictures(add);
watchModel();
offerExamples(add).catch(() => {}); // the row stays away; everything else works
