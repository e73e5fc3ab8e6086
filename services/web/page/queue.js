// Several pictures, one after the other, and how far that is.

import { analyze, Problem } from "./api.js";
import { askForKey, currentKey } from "./key.js";
import { modelLoaded, watchModel } from "./model.js";

const MOST_TRIES = 5; // while the service is busy
const PASSING = ["overloaded", "rate_limited", "model_not_ready"]; // with a Retry-After they pass by themselves
const OF_THE_MODEL = ["model_not_ready", "unreachable"]; // what the line at the top should tell, too

const waiting = [];
let current = null;
let running = null;
let counts = { total: 0, done: 0, failed: 0 }; // of this run: from the first picture until none is left

/** job: {picture, wishes, card}. onChange(counts, isRunning, job that has just ended or null). */
export function enqueue(jobs, onChange) {
  for (const job of jobs) {
    job.ending = new AbortController();
    job.card.showWaiting();
  }
  waiting.push(...jobs);
  counts.total += jobs.length;
  onChange(counts, true, null);
  running ??= run(onChange);
}

export function stopAll() {
  for (const job of waiting) job.ending.abort();
  current?.ending.abort();
}

/** Forgets a job whose card is taken away. */
export function drop(job, onChange) {
  const place = waiting.indexOf(job);
  if (place < 0 && job !== current) return;
  if (place >= 0) waiting.splice(place, 1);
  job.gone = true;
  job.ending.abort();
  counts.total -= 1;
  onChange(counts, true, null);
}

async function run(onChange) {
  while ((current = waiting.shift())) {
    const job = current;
    try {
      job.ending.signal.throwIfAborted();
      job.card.showAnswer(await caption(job));
      if (!job.gone) counts.done += 1;
    } catch (error) {
      if (!job.gone) counts.failed += 1;
      job.card.showProblem(asProblem(error));
    }
    current = null;
    onChange(counts, waiting.length > 0, job.gone ? null : job);
  }
  running = null;
  counts = { total: 0, done: 0, failed: 0 };
}

async function caption({ picture, wishes, card, ending: { signal } }) {
  for (let tries = 1; ; tries += 1) {
    card.showWorking("Waiting for the model…");
    await modelLoaded(signal);
    card.showWorking("Looking…");
    const key = currentKey();
    try {
      return await analyze(picture, wishes, key, signal);
    } catch (problem) {
      if (problem.code === "unauthorized" && (await askForKey(key))) continue;
      if (OF_THE_MODEL.includes(problem.code)) await watchModel(); // which may be loading
      if (!PASSING.includes(problem.code) || problem.retryAfterS === null || tries === MOST_TRIES) throw problem;
      card.showWorking(`The service is busy; the next try is in ${problem.retryAfterS} s`);
      await pause(problem.retryAfterS, signal);
    }
  }
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    }, { once: true });
  });
}

function asProblem(error) {
  if (error instanceof Problem) return error;
  if (error.name === "AbortError") return new Problem("stopped");
  console.error(error); // a fault of this page; the other pictures go on
  return new Problem("internal_error");
}
