/** What the page has to say, and what it asks for: one line each, and aloud once. */

import { time } from "./words.js";

const $ = (id) => document.getElementById(id);

/** A sentence with one thing that can be done about it. */
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

/** The same, with other words, and without saying them aloud again. */
export function amend(words) {
  $("notice-text").textContent = words;
}

/** Of a pause: why, and for how many seconds still; `null` once it is over. */
export function showBusy(why, seconds) {
  const begins = $("busy").hidden && why;
  $("busy").hidden = !why;
  $("busy-text").textContent = why ? `${why}, retrying in ${time(seconds)}` : "";
  if (begins) say($("busy-text").textContent);
}

let asked = null;

/** Kept once somebody has given an API key. */
export function askForKey(wasRefused) {
  const form = $("key-form");
  $("key-note").textContent = wasRefused
    ? "That key is not in use here. Another one?"
    : "It is kept until you close this tab.";
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

/** Read aloud by a screen reader. */
export function say(words) {
  $("live").textContent = words;
}
