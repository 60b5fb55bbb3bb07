// Writes the prime numbers up to its argument into primes.json.
const fs = require("fs");

const limit = Number(process.argv[2]);
const primes = [];
for (let n = 2; n <= limit; n++) {
  if (primes.every((p) => n % p !== 0)) primes.push(n);
}
fs.writeFileSync(process.env.OUTPUT_DIR + "/primes.json", JSON.stringify(primes) + "\n");
console.log(`${primes.length} primes up to ${limit}`);
