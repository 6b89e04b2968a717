// Stripe through Holdfast: `npm install stripe`, profile `stripe`.
const Stripe = require("stripe");

const holdfast = new URL(process.env.HOLDFAST_URL || "http://127.0.0.1:3000");
const stripe = new Stripe(process.env.STRIPE_API_KEY || "sk_test_123", {
  host: holdfast.hostname, // these three are the one line
  port: holdfast.port,
  protocol: holdfast.protocol.replace(":", ""),
  maxNetworkRetries: 0, // one retry layer: Holdfast's
});

// Charge 12.00 EUR once; the SDK makes a key of its own where `key` is null.
exports.pay = async (reference, key) => {
  const order = {
    amount: 1200,
    currency: "eur",
    payment_method: "pm_card_visa",
    confirm: true,
    metadata: { reference },
  };
  const intent = await stripe.paymentIntents.create(order, key ? { idempotencyKey: key } : {});
  return `${intent.id} ${intent.status}`;
};

if (require.main === module) {
  const order = process.argv[2] || crypto.randomUUID();
  exports.pay(order, order).then(console.log);
}
