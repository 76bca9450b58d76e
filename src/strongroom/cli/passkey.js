"use strict";
// Asks the browser for a passkey, as the command line says, and hands back what it answered. The secret of this page's
// address is forgotten at once: it stays neither in the address bar nor in the history.
const secret = location.hash.slice(1);
history.replaceState(null, "", "/");
const told = document.getElementById("told");
const again = document.getElementById("again");

const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

async function post(path, body) {
  const answer = await fetch(path, { method: "POST", body, headers: { "X-Strongroom-Page": secret } });
  if (!answer.ok) throw new Error("the command has ended: start it again");
  return answer.json();
}

async function create(asked) {
  const publicKey = {
    rp: { id: asked.rpId, name: "Strongroom" },
    user: { id: bytes(asked.userId), name: asked.actor, displayName: asked.actor },
    challenge: bytes(asked.challenge),
    pubKeyCredParams: asked.algorithms.map((alg) => ({ type: "public-key", alg })),
    authenticatorSelection: { residentKey: "required", requireResidentKey: true, userVerification: "required" },
    attestation: asked.attestation,
  };
  const made = await navigator.credentials.create({ publicKey });
  return { id: made.id, response: ["clientDataJSON", "attestationObject"].reduce(
    (all, name) => ({ ...all, [name]: text(made.response[name]) }), {}) };
}

async function get(asked) {
  const publicKey = { rpId: asked.rpId, challenge: bytes(asked.challenge), userVerification: "required" };
  const found = await navigator.credentials.get({ publicKey });
  return { id: found.id, response: ["clientDataJSON", "authenticatorData", "signature"].reduce(
    (all, name) => ({ ...all, [name]: text(found.response[name]) }), {}) };
}

async function ask() {
  again.hidden = true;
  try {
    const asked = await post("/options", "");
    const answer = asked.kind === "create" ? await create(asked) : await get(asked);
    await post("/answer", JSON.stringify(answer));
    told.textContent = "You can close this page and go back to the terminal.";
  } catch (error) {
    told.textContent = "That did not work: " + error.message;
    again.hidden = false;
  }
}

again.addEventListener("click", ask);
ask();
