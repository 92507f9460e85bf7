// The superuser is made before the first start, with the secret as the password, which the owner may change afterwards.
migrate((app) => {
  const owner = new Record(app.findCollectionByNameOrId("_superusers"))
  owner.set("email", "owner@archipelago.internal")
  owner.set("password", toString($os.readFile("/run/secrets/password")).trim())
  app.save(owner)
})
