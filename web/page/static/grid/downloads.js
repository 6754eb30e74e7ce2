/** Downloads of results. */

/** Sets the links of a job's results. With an API key a script downloads them. */
export function offerDownloads(api, jobId, links, failed) {
  for (const [link, format] of links) {
    const path = `jobs/${jobId}/results?format=${format}`;
    link.hidden = !jobId;
    link.href = `api/v1/${path}`;
    link.download = `${jobId}.${format}`;
    link.onclick = (event) => {
      if (!api.key) return;
      event.preventDefault();
      save(api, path, link.download).catch(failed);
    };
  }
}

async function save(api, path, name) {
  const blob = await (await api.send(path)).blob();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
