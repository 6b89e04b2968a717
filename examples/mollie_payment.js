// Mollie through Holdfast: `npm install @mollie/api-client`, profile `mollie`.
// This SDK speaks TLS only: Holdfast needs `listen_tls`. It trusts a list of its own and nothing else: either the
// certificate comes from a public authority, or run it with `node --require ./trust_ca.js`.
const { createMollieClient } = require("@mollie/api-client");

const mollie = createMollieClient({
  apiKey: process.env.MOLLIE_API_KEY || "test_" + "a".repeat(30),
  apiEndpoint: (process.env.HOLDFAST_URL || "https://127.0.0.1:3443") + "/v2/", // the one line
});
// Its three attempts have no setting. Behind Holdfast they do no harm: all of them carry the key of the first.

// Charge 12.00 EUR once; the SDK makes a key of its own where `key` is null.
exports.pay = async (reference, key) => {
  const payment = await mollie.payments.create({
    amount: { currency: "EUR", value: "12.00" },
    description: reference,
    redirectUrl: "https://shop.example/return",
    metadata: { reference },
    ...(key ? { idempotencyKey: key } : {}),
  });
  return `${payment.id} ${payment.status}`;
};

if (require.main === module) {
  const order = process.argv[2] || crypto.randomUUID();
  exports.pay(order, order).then(console.log);
}
