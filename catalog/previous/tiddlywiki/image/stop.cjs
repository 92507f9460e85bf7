// The server does not listen to SIGTERM. Without a word of its own, the first process of a
// container ignores that signal, and would be killed 10 s later.
process.on('SIGTERM', () => process.exit(0))
