// Swagger UI for the HTTP API of this server.

SwaggerUIBundle({
  url: "openapi.json", // relative, so that the page also works below a path of a proxy
  dom_id: "#swagger-ui",
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  defaultModelsExpandDepth: -1,
  displayRequestDuration: true,
  validatorUrl: null, // or the page would send the address of the server to validator.swagger.io
});
