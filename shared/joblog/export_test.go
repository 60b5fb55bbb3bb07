package joblog

// RunOn is Run with notices that a test gives.
var RunOn = (*Shipper).run

// Growth is how Run learns of writes.
var Growth = growth

// Burst is how many segments may go at once.
const Burst = burst
