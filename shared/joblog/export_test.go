package joblog

// RunOn is Run with notices that a test gives.
var RunOn = (*Shipper).run

// Writes is how Run learns of writes.
var Writes = writes

// Burst is how many segments may go at once.
const Burst = burst
