// The input of a recording: dropped anywhere on the page, chosen, recorded, or an example.
// `element` and `props` are Gradio's; the value becomes {upload, name} or {example, name}.
const find = (name) => element.querySelector(`.t-${name}`);
const words = JSON.parse(find("input").dataset.words);
const limit = Number(find("input").dataset.limit);
let latest = 0; // a later choice wins over an unfinished upload
let recorder = null;
let opening = false; // a second click meanwhile would open a microphone that nothing closes

function problem(sentence) {
  find("refused").textContent = sentence;
  find("refused").hidden = !sentence;
}

function give(value) {
  props.value = value;
  if (innerWidth > 760) return;
  // On a phone the answer is further down: scroll there when it arrives.
  const result = document.querySelector("#t-result");
  const behavior = matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth";
  const seen = new MutationObserver(() => {
    if (!result.querySelector(".tritone-answer, .t-problem")) return;
    seen.disconnect();
    document.querySelector("#t-answer").scrollIntoView({ behavior });
  });
  seen.observe(result, { childList: true, subtree: true });
}

function mark(chosen) {
  element.querySelectorAll("[data-example]").forEach((button) => (button.ariaPressed = String(button === chosen)));
}

function show(name, url, detail, example = null) {
  const player = find("player");
  find("given").hidden = false;
  find("name").textContent = name;
  find("detail").textContent = detail;
  if (player.src.startsWith("blob:")) URL.revokeObjectURL(player.src);
  player.hidden = !url;
  if (url) player.src = url;
  else player.removeAttribute("src");
  mark(example);
  problem("");
}

// Returns the name under which the page keeps a file; throws a message for the visitor.
async function send(file) {
  const answer = await fetch("../upload", { method: "POST", body: file }).catch(() => null);
  if (answer?.status === 507) throw words.no_room;
  if (!answer?.ok) throw words.not_uploaded;
  return (await answer.json()).upload;
}

function sized(bytes) {
  if (bytes < 1024) return words.bytes.replace("{count}", bytes);
  return bytes < 0.1 * 2 ** 20 ? `${(bytes / 1024).toFixed(1)} KB` : `${(bytes / 2 ** 20).toFixed(1)} MB`;
}

async function take(file) {
  if (!file) return;
  const turn = ++latest;
  const megabytes = file.size / 2 ** 20;
  if (megabytes > limit) {
    problem(words.too_large.replace("{size}", megabytes.toFixed(0)).replace("{limit}", limit));
    return;
  }
  const size = sized(file.size);
  show(file.name, file.size ? URL.createObjectURL(file) : "", words.uploading);
  try {
    const upload = await send(file);
    if (turn !== latest) return;
    find("detail").textContent = size;
    give({ upload, name: file.name, turn });
  } catch (sentence) {
    if (turn === latest) {
      find("detail").textContent = size;
      problem(sentence);
    }
  }
}

async function record() {
  if (opening) return;
  if (recorder) {
    recorder.stop();
    return;
  }
  if (!navigator.mediaDevices) {
    problem(words.insecure);
    return;
  }
  opening = true;
  let stream;
  try {
    // Unprocessed: the networks were not trained on sound filtered for telephone calls.
    const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    stream = await navigator.mediaDevices.getUserMedia({ audio });
    recorder = new MediaRecorder(stream);
    recorder.start();
  } catch {
    recorder = null;
    stream?.getTracks().forEach((track) => track.stop());
    problem(words.no_microphone);
    return;
  } finally {
    opening = false;
  }
  problem("");
  const parts = [];
  const start = Date.now();
  const label = find("record").querySelector("span");
  const tick = () => {
    const seconds = Math.floor((Date.now() - start) / 1000);
    label.textContent = `${words.stop}  ${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    if (seconds >= 600) recorder.stop();
  };
  const clock = setInterval(tick, 250);
  recorder.ondataavailable = (event) => parts.push(event.data);
  recorder.onstop = () => {
    clearInterval(clock);
    stream.getTracks().forEach((track) => track.stop());
    const type = recorder.mimeType.split(";")[0];
    recorder = null;
    label.textContent = words.record;
    find("record").classList.remove("t-on");
    const time = new Date().toTimeString().slice(0, 8).replaceAll(":", ".");
    take(new File(parts, `${words.recording} ${time}.${type.split("/")[1] || "webm"}`, { type }));
  };
  find("record").classList.add("t-on");
  tick();
}

// If the browser cannot play a file, the server may still decode it, or report what is wrong with it.
find("player").addEventListener("error", () => (find("player").hidden = true));
find("choose").addEventListener("click", () => find("file").click());
find("file").addEventListener("change", () => {
  take(find("file").files[0]);
  find("file").value = ""; // the same file may be chosen again
});
find("record").addEventListener("click", record);
element.querySelectorAll("[data-example]").forEach((button) =>
  button.addEventListener("click", () => {
    const turn = ++latest;
    const example = Number(button.dataset.example);
    show(button.textContent, `../examples/${example}`, "", button);
    give({ example, name: button.textContent, turn });
  }),
);
let inside = 0; // dragenter and dragleave are fired for every element on the way
const drag = (event, change) => {
  event.preventDefault();
  inside = change ? inside + change : 0;
  find("input").classList.toggle("t-over", inside > 0);
};
document.addEventListener("dragenter", (event) => drag(event, 1));
document.addEventListener("dragleave", (event) => drag(event, -1));
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  drag(event, 0);
  take(event.dataTransfer.files[0]);
});
