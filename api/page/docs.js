"use strict";
SwaggerUIBundle({ url: "/openapi.json", dom_id: "#api", deepLinking: true, displayRequestDuration: true, validatorUrl: null });
