/** Notices and questions to the user. Screen readers read each once. */

import { time } from "./words.js";

const $ = (id) => document.getElementById(id);

/** Shows a sentence with one button. An empty sentence hides it. */
export function notice(words, action = "Close", act = () => {}) {
  $("notice").hidden = !words;
  $("notice-text").textContent = words;
  $("notice-action").textContent = action;
  $("notice-action").onclick = () => {
    $("notice").hidden = true;
    act();
  };
  say(words);
}

/** Changes the words of the notice. Screen readers do not read them again. */
export function amend(words) {
  $("notice-text").textContent = words;
}

/** Shows the reason of a pause and the seconds left. `null` hides it. */
export function showBusy(why, seconds) {
  const begins = $("busy").hidden && why;
  $("busy").hidden = !why;
  $("busy-text").textContent = why ? `${why}, retrying in ${time(seconds)}` : "";
  if (begins) say($("busy-text").textContent);
}

let asked = null;

/** Returns a promise of the API key that the user enters. */
export function askForKey(wasRefused) {
  const form = $("key-form");
  $("key-note").textContent = wasRefused
    ? "This key is not valid. Enter another one."
    : "The key is kept until you close this tab.";
  $("key").ariaInvalid = `${wasRefused}`;
  form.hidden = false;
  $("key").focus();
  asked ??= new Promise((resolve) => {
    form.onsubmit = (event) => {
      event.preventDefault();
      const key = $("key").value.trim();
      form.hidden = true;
      form.reset();
      asked = null;
      resolve(key);
    };
  });
  return asked;
}

/** Lets screen readers read the words. */
function say(words) {
  $("live").textContent = words;
}
