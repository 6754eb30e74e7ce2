/**
 * The server-sent events of a job, read by fetch, because EventSource cannot send an API key. After
 * a lost connection the stream continues after the last event.
 */

import { lines } from "./lines.js";
import { Pause } from "../pause.js";

const PAUSE_MILLISECONDS = 2000;

/** Calls `on.item(item)` and `on.progress(job)`. Returns when the job has ended. Throws Problem. */
export async function follow(api, jobId, on) {
  let last = "";
  // Its own pause: if the service has no room for another stream, pictures can still be sent.
  const pause = new Pause(() => {});
  for (;;) {
    const headers = { Accept: "text/event-stream", ...(last && { "Last-Event-ID": last }) };
    const response = await api.insist(`jobs/${jobId}/events`, () => ({ headers }), { pause });
    try {
      for await (const event of events(response)) {
        last = event.id || last;
        const data = JSON.parse(event.data);
        if (event.type === "item") on.item(data);
        else on.progress(data);
        if (event.type === "end") return;
      }
    } catch (error) {
      if (error instanceof SyntaxError) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MILLISECONDS));
  }
}

async function* events(response) {
  let event = { type: "message", data: "", id: "" };
  for await (const line of lines(response)) {
    if (line === "") {
      if (event.data) yield event;
      event = { type: "message", data: "", id: "" };
      continue;
    }
    const [, field, value] = /^([^:]*):? ?(.*)$/.exec(line);
    if (field === "event") event.type = value;
    else if (field === "data") event.data += value;
    else if (field === "id") event.id = value;
  }
}
