"use strict";

// The document lies beside the folder of this script, under whatever path a proxy shows them.
const documentUrl = new URL("../openapi.json", document.currentScript.src).href;

SwaggerUIBundle({
  url: documentUrl,
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  validatorUrl: null, // no other host is asked
});
