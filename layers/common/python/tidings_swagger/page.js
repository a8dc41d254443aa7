// The addresses are relative, so that the page also works behind a gateway's stage (/prod/docs).
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#page",
  tryItOutEnabled: true,
  persistAuthorization: false, // a key is forgotten with the page
  validatorUrl: null, // else it would ask a server of Swagger's
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
});
