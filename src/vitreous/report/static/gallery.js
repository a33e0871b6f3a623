"use strict";
for (const gallery of document.querySelectorAll(".gallery")) {
  const command = gallery.parentElement.querySelector(".chosen");
  const boxes = [...gallery.querySelectorAll("input")];
  const show = () => {
    const numbers = boxes.filter((box) => box.checked).map((box) => box.value);
    command.value = numbers.length
      ? `${command.dataset.start} --classes ${numbers.join(",")}`
      : "Click on classes to choose them.";
  };
  boxes.forEach((box) => box.addEventListener("change", show));
  command.addEventListener("click", () => {
    command.select();
    if (navigator.clipboard) navigator.clipboard.writeText(command.value).catch(() => {});
  });
  show();
}
