// The server still runs 10 s after SIGTERM, and would be killed then. What it stores is renamed
// into place, so it may end at once.
process.on('SIGTERM', () => process.exit(0))
