/**
 * What pages under consentd find on `window`. The state is that of the page as it was served, and
 * after a choice on it that of the choice.
 *
 *   addEventListener('load', () => {
 *     if (window.consent?.state.grants.analytics) startCounting();
 *   });
 *   document.addEventListener('consent:change', (event) => {
 *     if (event.detail.grants.marketing) showMap();
 *   });
 *   document.querySelector('#privacy').onclick = () => window.consent?.open();
 */
export interface ConsentState {
  /** False until the visitor has chosen; nothing but what is required is granted then. */
  readonly decided: boolean;
  /** By the policy's category ids, `essential` and what else is required included. */
  readonly grants: Readonly<Record<string, boolean>>;
}

export interface Consent {
  readonly state: ConsentState;
  /** Opens the settings in a dialog and moves the focus there. */
  open(): void;
}

declare global {
  interface Window {
    /** Absent where the banner is off and until its script has run: not after the page's load event. */
    readonly consent?: Consent;
  }
  interface DocumentEventMap {
    /**
     * After a choice was recorded, also one that was made in another copy of the page; a page that
     * loads again because of it fires it before.
     */
    'consent:change': CustomEvent<ConsentState>;
  }
}
