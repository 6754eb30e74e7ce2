/** The lines of a streamed answer, which is never in memory as a whole. */

export async function* lines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const pieces = (rest + value).split("\n");
      rest = pieces.pop();
      for (const piece of pieces) yield piece.endsWith("\r") ? piece.slice(0, -1) : piece;
    }
    if (rest) yield rest;
  } finally {
    reader.cancel().catch(() => {});
  }
}
