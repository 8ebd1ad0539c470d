// Search in pages that are opened from a file, where browsers refuse Worker: a hidden frame runs the script instead.

if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.documentElement.append(frame);
      const inside = frame.contentWindow;
      inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      const script = inside.document.createElement("script");
      script.src = new URL(url, location);
      this.loaded = new Promise((done) => script.addEventListener("load", done));
      inside.document.body.append(script);
      this.send = (data) => inside.dispatchEvent(new inside.MessageEvent("message", { data }));
    }

    postMessage(data) {
      this.loaded.then(() => this.send(data));
    }
  };
}
