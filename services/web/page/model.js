// How the model is: asked again and again, shown at the top, and waited for while it loads.

import { Problem, readHealth } from "./api.js";

const AGAIN_MS = { loading: 700, unreachable: 3000, other: 30_000 };
const MB = 1e6;

const line = document.getElementById("model-line");
const panel = document.getElementById("loading");
const bar = document.getElementById("loading-bar");
const detail = document.getElementById("loading-detail");

let status = "";
let timer = 0;
let first = null; // {ms, bytes} when the download was first seen: the start of what its rate is measured over
const waiting = new Set(); // of those who wait for the model
const listeners = [];

/** Calls `listener(health)` whenever the service has told how it is. */
export function onHealth(listener) {
  listeners.push(listener);
}

export async function watchModel() {
  clearTimeout(timer);
  let health;
  try {
    health = await readHealth();
    if (!health.model_status) throw new Problem("not_json");
  } catch {
    health = { model_status: "unreachable" };
  }
  status = health.model_status;
  show(health);
  if (status !== "loading") {
    for (const go of waiting) go();
    waiting.clear();
  }
  for (const listener of listeners) listener(health);
  clearTimeout(timer);
  timer = setTimeout(whenSeen, AGAIN_MS[status] ?? AGAIN_MS.other);
}

/** Resolves when the model is not loading any more, whatever came of it: the service itself says that best. */
export async function modelLoaded(signal) {
  if (status !== "loading") return;
  await new Promise((resolve) => {
    waiting.add(resolve);
    signal.addEventListener("abort", resolve, { once: true });
  });
  signal.throwIfAborted();
}

function whenSeen() {
  if (document.hidden) document.addEventListener("visibilitychange", whenSeen, { once: true });
  else watchModel();
}

function show(health) {
  const where = health.device ? ` on ${health.device}` : "";
  const words = {
    loading: `${health.model} is loading`,
    loaded: `${health.model}${where}`,
    idle: `${health.model} rests, and wakes for the next picture`,
    failed: `${health.model} could not be loaded`,
    unreachable: "The service does not answer",
  };
  const text = words[status] ?? `${health.model}: ${status}`;
  if (line.textContent !== text) line.textContent = text; // a change is read aloud, the same again must not be
  line.dataset.state = status;
  panel.hidden = status !== "loading" && status !== "failed";
  panel.dataset.state = status;
  bar.hidden = status !== "loading";
  if (status === "loading") showProgress(health);
  else first = null;
  const title = document.getElementById("loading-title");
  title.textContent = status === "failed" ? "The model could not be loaded" : "The model is loading";
  if (status === "failed") detail.textContent = health.error ?? "";
}

function showProgress({ load_progress: share = 0, load_bytes: bytes, load_total_bytes: total }) {
  bar.value = share;
  const parts = [`${Math.floor(share * 100)} %`];
  if (total) {
    parts.push(`${(bytes / MB).toFixed(0)} of ${(total / MB).toFixed(0)} MB`);
    const now = { ms: performance.now(), bytes };
    if (!first || bytes < first.bytes) first = now;
    const perMs = (bytes - first.bytes) / (now.ms - first.ms);
    if (perMs > 0) parts.push(`${minutes((total - bytes) / perMs)} left`);
  }
  detail.textContent = `${parts.join(", ")}. You can add pictures already; they are captioned when it is there.`;
}

function minutes(ms) {
  const seconds = Math.ceil(ms / 1000);
  return seconds < 90 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
}
