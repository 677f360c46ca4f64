// The place of the answer: a counter while the server computes one; buttons that copy a program, or the answer.
// `element` is Gradio's, and outlives the answers in it.
let began = 0; // when the wait for the answer began

new MutationObserver(() => {
  const counter = element.querySelector(".t-seconds");
  if (!counter) began = 0;
  else began ||= Date.now();
}).observe(element, { childList: true, subtree: true });

setInterval(() => {
  const seconds = Math.floor((Date.now() - began) / 1000);
  const counter = began && element.querySelector(".t-seconds");
  if (counter && seconds && counter.textContent !== `${seconds} s`) counter.textContent = `${seconds} s`;
}, 200);

function chosen(panel, what) {
  if (what === "copy_json") return panel.querySelector(".t-json");
  return [...panel.querySelectorAll(".t-tabs pre")].find((code) => code.offsetParent);
}

// Browsers have no clipboard for pages on http of other machines: there the text is selected and copied.
function copySelected(text) {
  const field = document.body.appendChild(document.createElement("textarea"));
  field.value = text;
  field.select();
  document.execCommand("copy");
  field.remove();
}

element.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button || button.disabled) return;
  const text = chosen(button.closest(".t-usage"), button.dataset.copy).textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    copySelected(text);
  }
  const label = button.textContent;
  button.textContent = button.dataset.copied;
  button.disabled = true;
  setTimeout(() => Object.assign(button, { textContent: label, disabled: false }), 1500);
});
