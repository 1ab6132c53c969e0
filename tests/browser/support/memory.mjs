// Where `oidc-provider` keeps its sessions and tokens, in memory, beyond the life of one of its instances.

export class Memory {
  #records = new Map();

  /** The adapter for one of its models. */
  adapter(model) {
    const records = this.#records;
    const key = (id) => `${model}:${id}`;
    return {
      upsert: async (id, payload) => void records.set(key(id), payload),
      find: async (id) => records.get(key(id)),
      findByUid: async (uid) => [...records.values()].find((payload) => payload.kind === model && payload.uid === uid),
      consume: async (id) => void (records.get(key(id)).consumed = Math.floor(Date.now() / 1000)),
      destroy: async (id) => void records.delete(key(id)),
      revokeByGrantId: async (grantId) => {
        for (const [name, payload] of records) {
          if (payload.grantId === grantId) {
            records.delete(name);
          }
        }
      },
    };
  }
}
