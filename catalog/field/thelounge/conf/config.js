'use strict'

module.exports = {
  public: false,
  host: '0.0.0.0',
  port: 9000,
  reverseProxy: true,
  theme: 'default',
  // Links are shown as they are: the node fetches nothing that a stranger has posted.
  prefetch: false,
  fileUpload: { enable: true, maxFileSize: 10240 },
  messageStorage: ['sqlite'],
  defaults: {
    name: 'Libera.Chat',
    host: 'irc.libera.chat',
    port: 6697,
    tls: true,
    rejectUnauthorized: true,
    nick: 'guest%%',
    username: 'guest',
    join: ''
  }
}
