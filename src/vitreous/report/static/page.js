// What needs no 3D: buttons that copy a command.
(() => {
  "use strict";

  // Pages opened from disk may lack the clipboard's own interface: then the text is selected.
  async function copy(text, place) {
    try {
      await navigator.clipboard.writeText(text);
      return "Copied";
    } catch {
      const range = document.createRange(), chosen = getSelection();
      range.selectNodeContents(place);
      chosen.removeAllRanges(); chosen.addRange(range);
      return document.execCommand("copy") ? "Copied" : "Selected: copy it with your keyboard";
    }
  }

  for (const button of document.querySelectorAll(".copy")) {
    const place = button.parentElement.querySelector("pre");
    const status = button.parentElement.querySelector("[role=status]");
    button.hidden = false;
    button.addEventListener("click", async () => {
      status.textContent = await copy(place.textContent, place);
      setTimeout(() => { status.textContent = ""; }, 2500);
    });
  }
})();
