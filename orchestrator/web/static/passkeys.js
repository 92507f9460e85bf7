// Passkeys are the browser's, which a script alone can ask: it sends as a form what the browser
// answers. Without it, the password signs in.
"use strict";

const can = Boolean(self.PublicKeyCredential?.parseCreationOptionsFromJSON && PublicKeyCredential.parseRequestOptionsFromJSON);

addEventListener("DOMContentLoaded", () => {
  for (const part of document.querySelectorAll("[data-passkeys]")) part.hidden = (part.dataset.passkeys === "can") !== can;
});

document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form[data-passkey]");
  if (!form) return;
  event.preventDefault();
  const problem = document.querySelector("[data-problem]");
  problem.hidden = true;
  try {
    let answer;
    if (form.dataset.passkey) {
      const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(JSON.parse(form.dataset.passkey));
      answer = await navigator.credentials.create({ publicKey });
    } else {
      const asked = await fetch("/login/passkey/begin", { method: "POST" });
      if (!asked.ok) throw new Error(asked.statusText);
      const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(await asked.json());
      answer = await navigator.credentials.get({ publicKey });
    }
    form.elements.answer.value = JSON.stringify(answer.toJSON());
  } catch {
    problem.hidden = false;
    return;
  }
  form.submit();
});
