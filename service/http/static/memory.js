// The photo and the form of this tab, for a reload. A new tab starts empty; photos of closed tabs go after a day.

const TAB = "automask-tab"; // in sessionStorage: {id, fields}
const DAY = 24 * 3600 * 1000; // ms

const read = () => JSON.parse(sessionStorage.getItem(TAB) ?? "null");

export function rememberForm(fields) {
  const tab = read();
  if (tab) sessionStorage.setItem(TAB, JSON.stringify({ ...tab, fields }));
}

export async function rememberPhoto(file, fields) {
  const id = read()?.id ?? Math.random().toString(36).slice(2); // `crypto.randomUUID` needs TLS
  sessionStorage.setItem(TAB, JSON.stringify({ id, fields }));
  await inStore("readwrite", (store) => store.put({ file, at: Date.now() }, id)).catch(() => {}); // private windows
}

// Returns {file, fields}, or null if this tab had no photo.
export async function recall() {
  const tab = read();
  try {
    await inStore("readwrite", forgetOld);
    const record = tab && (await inStore("readonly", (store) => store.get(tab.id)));
    return record ? { file: record.file, fields: tab.fields } : null;
  } catch {
    return null;
  }
}

function forgetOld(store) {
  const request = store.openCursor();
  request.onsuccess = () => {
    const cursor = request.result;
    if (!cursor) return;
    if (Date.now() - cursor.value.at > DAY) cursor.delete();
    cursor.continue();
  };
  return request;
}

function inStore(mode, work) {
  return new Promise((done, fail) => {
    const opening = indexedDB.open("automask", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("photos");
    opening.onerror = () => fail(opening.error);
    opening.onsuccess = () => {
      const database = opening.result;
      const transaction = database.transaction("photos", mode);
      const request = work(transaction.objectStore("photos"));
      transaction.oncomplete = () => {
        database.close();
        done(request.result);
      };
      transaction.onabort = transaction.onerror = () => {
        database.close();
        fail(transaction.error);
      };
    };
  });
}
