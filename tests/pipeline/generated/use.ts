// Classifies, submits, waits and reads with the generated types. A test compiles and runs it.
import type { operations } from "./api.js";

type Answer<Call extends keyof operations, Status extends number> =
  operations[Call]["responses"] extends Record<
    Status,
    { content: { "application/json": infer Body } }
  >
    ? Body
    : never;
type Query<Call extends keyof operations> = operations[Call]["parameters"]["query"];

const base = process.argv[2] + "/api/v1";
const picture = new Blob([await (await import("node:fs/promises")).readFile(process.argv[3]!)]);

async function call<Body>(path: string, status: number, request: RequestInit = {}): Promise<Body> {
  const answer = await fetch(base + path, request);
  if (answer.status !== status) throw new Error(`${answer.status}: ${await answer.text()}`);
  return (await answer.json()) as Body;
}

function form(field: string, ...pictures: Blob[]): RequestInit {
  const body = new FormData();
  for (const each of pictures) body.append(field, each, "picture.jpg");
  return { method: "POST", body };
}

const one = await call<Answer<"classify", 200>>("/classify", 200, form("file", picture));
const job = await call<Answer<"createJob", 202>>("/jobs", 202, form("files", picture, picture));
const wait: Query<"getJob"> = { wait: 30 };
const ended = await call<Answer<"getJob", 200>>(`/jobs/${job.id}?wait=${wait?.wait}`, 200);
const page = await call<Answer<"getResults", 200>>(`/jobs/${job.id}/results`, 200);
const listed = await call<Answer<"listJobs", 200>>("/jobs?limit=1", 200);
const { labels } = await call<Answer<"listLabels", 200>>("/model/labels", 200);

const best = one.predictions[0]!;
console.log(
  JSON.stringify({
    label: best.class_name,
    named: labels[best.class_id]!.name,
    state: ended.state,
    labels: page.items.map((item) => item.predictions[0]!.class_name),
    newest: listed.jobs[0]!.id === job.id,
  }),
);
