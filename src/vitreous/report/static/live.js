// Makes a served page anew every other second, and loads it whole once the job is done.
(() => {
  "use strict";

  async function renew() {
    const answer = await fetch(location.href, { cache: "no-store" });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!page.body.dataset.live) { location.reload(); return; }
    for (const name of ["header", "main"]) {
      const here = document.querySelector(name), there = page.querySelector(name);
      const open = [...here.querySelectorAll("details")].map(one => one.open);
      there.querySelectorAll("details").forEach((one, place) => { one.open = open[place]; });
      if (here.innerHTML !== there.innerHTML) here.replaceChildren(...there.childNodes);
    }
  }

  // A reader at work with the keyboard is not thrown off the page's buttons and links.
  setInterval(() => {
    if (!document.hidden && !document.querySelector("main")?.contains(document.activeElement))
      renew().catch(() => {});  // the server may be gone for a while
  }, 2000);
})();
