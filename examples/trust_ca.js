// Lets SDKs that bring their own list of authorities (Mollie's) trust one more: the PEM file in HOLDFAST_CA.
//   HOLDFAST_CA=holdfast.crt node --require ./trust_ca.js shop.js
// NODE_EXTRA_CA_CERTS does the same for every SDK without such a list (Adyen's), and is to be preferred there.
const fs = require("node:fs");
const tls = require("node:tls");

const authority = fs.readFileSync(process.env.HOLDFAST_CA);
const { createSecureContext } = tls;

tls.createSecureContext = (options) => {
  const made = createSecureContext(options);
  made.context.addCACert(authority);
  return made;
};
