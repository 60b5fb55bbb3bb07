const { mean } = require('../lib/stats')

const numbers = process.argv.slice(2).map(Number)
console.log('mean', mean(numbers))
