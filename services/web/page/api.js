// The requests that this page makes. All addresses are relative, so that the page works under any path.

/** What went wrong. code: one of the service's, or "unreachable", "stopped", "not_json", "not_read". */
export class Problem extends Error {
  constructor(code, message = "", retryAfterS = null) {
    super(message);
    this.code = code;
    this.retryAfterS = retryAfterS;
  }
}

/** The state of the service, also when it is unhealthy (503). Throws Problem. */
export async function readHealth() {
  const response = await send("health", { cache: "no-store" });
  return parse(response);
}

/** The pictures to try: [{file, caption}]. Throws Problem. */
export async function readExamples() {
  const { examples } = await parse(await send("examples"));
  return examples;
}

/** The bytes of one of them. Throws Problem. */
export async function readExample(file) {
  const response = await send(`examples/${encodeURIComponent(file)}`);
  if (!response.ok) throw new Problem("not_found");
  return response.blob();
}

/**
 * Has one picture captioned. picture: {blob, name} or {url}; wishes: {prompt, question, model}, empty ones left out;
 * key: "" for none. Gives the service's answer; throws Problem.
 */
export async function analyze(picture, wishes, key, signal) {
  const form = new FormData();
  if (picture.blob) await checkReadable(picture.blob);
  if (picture.blob) form.append("file", picture.blob, picture.name || "picture");
  else form.append("url", picture.url);
  for (const [name, text] of Object.entries(wishes)) if (text) form.append(name, text);
  // not Authorization, which a proxy may want for itself
  const headers = key ? { "X-API-Key": key } : {};
  const response = await send("v3/analyze", { method: "POST", body: form, headers, signal });
  const answer = await parse(response);
  if (response.ok) return answer;
  const retryAfterS = Number.parseInt(response.headers.get("Retry-After"), 10);
  const { code = "internal_error", message = "" } = answer.error ?? {};
  throw new Problem(code, message, Number.isNaN(retryAfterS) ? null : retryAfterS);
}

/** A file may be gone since it was chosen, and a folder can be dropped: fetch would blame the network. */
async function checkReadable(blob) {
  try {
    await blob.slice(0, 1).arrayBuffer();
  } catch {
    throw new Problem("not_read");
  }
}

async function send(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    throw new Problem(error.name === "AbortError" ? "stopped" : "unreachable");
  }
}

/** What stands between (a proxy) may answer in its own words. */
async function parse(response) {
  try {
    return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw new Problem("stopped");
    throw new Problem(response.status === 413 ? "too_large" : "not_json", `HTTP status ${response.status}`);
  }
}
