// Every code of an error -> what went wrong, and what to do about it.

const WORDS = {
  no_input: ["No picture arrived.", "Choose it once more."],
  conflicting_input: ["More than one picture arrived at once.", "Send them one by one."],
  invalid_parameter: ["The model cannot follow this wish.", "Change what you asked for, and try again."],
  url_not_allowed: [
    "This address is not fetched.",
    "Only public http and https addresses are. Save the picture, and choose the file instead.",
  ],
  url_unreachable: [
    "The picture could not be fetched.",
    "Open the address in your browser: it must show the picture itself, without a login.",
  ],
  unsupported_format: [
    "This is no picture that can be read here.",
    "PNG, JPEG, GIF, BMP and WebP can. Save others, such as HEIC, SVG or PDF, as one of these.",
  ],
  unreadable_image: ["The picture is damaged or incomplete.", "Open it on your device and save it anew, or fetch it again."],
  too_large: ["The picture is too large.", "Make it smaller, or save it as a JPEG."],
  no_caption: ["The model found nothing to say about this picture.", "Try a larger or clearer one."],
  unauthorized: ["The service asks for a key.", "Try again, and give the key that its operator gave you."],
  rate_limited: ["That were too many requests in a short time.", "Wait a little, then try again."],
  overloaded: ["The service is busy.", "Wait a little, then try again."],
  model_not_ready: ["The model is not ready.", "Wait until it is loaded. If it could not be, its operator finds the reason below."],
  model_not_configured: ["This model is not served here.", "Choose another one."],
  deadline_exceeded: ["It took too long.", "Try again. A smaller picture is faster."],
  request_timeout: ["The picture came in too slowly.", "Check your connection, then try again."],
  host_not_allowed: ["The service is private.", "Open it as localhost, on the machine that it runs on."],
  bad_request: ["The request arrived malformed.", "Load this page anew, then try again."],
  not_found: ["The service does not know this request.", "Load this page anew: it may be of another version."],
  internal_error: ["The service made a mistake.", "Try again. Its log tells its operator more."],
  unreachable: ["The service does not answer.", "Check your connection, and whether the service runs. Then try again."],
  not_json: ["Something between you and the service answered in its place.", "Try again; if it stays, tell the operator."],
  not_read: ["This file cannot be read.", "It was moved or changed, or is a folder. Choose it once more."],
  stopped: ["Stopped before it was captioned.", "Try again when you want it captioned."],
};

/** {what, cure, said} of a Problem; said: the service's own words, "" when they add nothing. */
export function inWords(problem) {
  const [what, cure] = WORDS[problem.code] ?? WORDS.internal_error;
  return { what, cure, said: problem.message };
}
