// Adyen through Holdfast: `npm install @adyen/api-library`, profile `adyen`.
// This SDK speaks TLS only: Holdfast needs `listen_tls`, and Node has to trust its certificate (NODE_EXTRA_CA_CERTS).
const { Client, CheckoutAPI } = require("@adyen/api-library");

const client = new Client({ apiKey: process.env.ADYEN_API_KEY || "key", environment: "TEST" });
const { PaymentsApi } = new CheckoutAPI(client);
PaymentsApi.baseUrl = (process.env.HOLDFAST_URL || "https://127.0.0.1:3443") + "/v71"; // the one line
// Nothing else to set: the SDK retries nothing, and its timeout of 30 s is longer than Holdfast's `timeouts.total`.

// Charge 12.00 EUR once; Holdfast adds a key where `key` is null.
exports.pay = async (reference, key) => {
  const order = {
    merchantAccount: "ShopECOM",
    amount: { currency: "EUR", value: 1200 },
    reference,
    paymentMethod: { type: "scheme", storedPaymentMethodId: "8415" },
    returnUrl: "https://shop.example/return",
  };
  const result = await PaymentsApi.payments(order, key ? { idempotencyKey: key } : undefined);
  return `${result.pspReference} ${result.resultCode}`; // a decline is no exception: `Refused`
};

if (require.main === module) {
  const order = process.argv[2] || crypto.randomUUID();
  exports.pay(order, order).then(console.log);
}
